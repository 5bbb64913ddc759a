"""What is made once, before anything runs: environments, jars, Java classes, data sets and models."""
