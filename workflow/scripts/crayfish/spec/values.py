"""The types that the values of a data point may have, by numpy's names."""

# Type -> the bytes of a value.
ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1, "int32": 4, "int64": 8}
# Type -> the characters of a value in JSON, with its comma, at most.
JSON_CHARACTERS = {"float32": 14, "float16": 14, "uint8": 4, "int32": 12, "int64": 21}
