"""The table along one setting: images, epochs, stages or networks; drawn, and said in sentences."""
