"""What a process stands on: device, memory, signals, claims, downloads; nothing here knows images or runs."""
