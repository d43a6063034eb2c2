"""Which neurons of a model will be active: predictors, and the folder that a calibration leaves."""
