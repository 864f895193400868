"""What a process stands on: device, files, signals, progress, claims; nothing here knows images or runs."""
