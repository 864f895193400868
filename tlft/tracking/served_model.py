"""The code that MLflow runs to load a logged model ("models from code"): no pickle is involved.

It holds no logic of its own; see tlft/inference/classifier.py for what a loaded model does.
"""

from tlft.tracking import set_served_model

set_served_model()
