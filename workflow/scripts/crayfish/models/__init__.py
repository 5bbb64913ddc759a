"""The models: one module a model, which declares a Model (crayfish.spec.contracts).

torch and tf_keras are imported inside the functions of a module, so that its declaration can be read in any
environment.
"""
