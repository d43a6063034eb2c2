"""Plans with weights in flash: what more or less memory makes of their speed, predicted."""
