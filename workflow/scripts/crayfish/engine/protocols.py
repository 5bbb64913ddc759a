"""The messages of the servers' public gRPC protocols, as far as they are used here, wire-compatible with the originals.

Made at import from the field numbers below, so that a processor's environment needs protobuf alone: the official stubs
of TensorFlow Serving would bring TensorFlow with them. Sources: model, predict and get_model_status.proto in
tensorflow_serving/apis; tensorflow/core/framework/{tensor,tensor_shape}.proto; pytorch/serve inference.proto; Triton's
grpc_service.proto (the KServe v2 protocol); google/protobuf/wrappers.proto.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# message -> {field: (number, type)}; "[]" marks a repeated field, "{}" a map from string.
MESSAGES = {
    "tensorflow.serving.ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "tensorflow.Dim": {"size": (1, "int64")},
    "tensorflow.TensorShapeProto": {"dim": (2, "tensorflow.Dim[]")},
    "tensorflow.TensorProto": {
        "dtype": (1, "int32"),  # an enum: DT_FLOAT is 1
        "tensor_shape": (2, "tensorflow.TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float[]"),
        "double_val": (6, "double[]"),
        "int_val": (7, "int32[]"),  # of all types of up to 32 bits that are no floats
        "int64_val": (10, "int64[]"),
        "half_val": (13, "int32[]"),  # the bits of each
    },
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "inputs": (2, "tensorflow.TensorProto{}"),
        "output_filter": (3, "string[]"),
    },
    "tensorflow.serving.PredictResponse": {"outputs": (1, "tensorflow.TensorProto{}")},
    "tensorflow.serving.GetModelStatusRequest": {"model_spec": (1, "tensorflow.serving.ModelSpec")},
    "tensorflow.serving.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
    },  # an enum: AVAILABLE is 30
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "tensorflow.serving.ModelVersionStatus[]")
    },
    "torchserve.PredictionsRequest": {"model_name": (1, "string"), "input": (3, "bytes{}")},
    "torchserve.PredictionResponse": {"prediction": (1, "bytes")},
    "inference.InferInputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64[]")},
    "inference.ModelInferRequest": {
        "model_name": (1, "string"),
        "inputs": (5, "inference.InferInputTensor[]"),
        "raw_input_contents": (7, "bytes[]"),
    },
    "inference.ModelInferResponse": {"raw_output_contents": (6, "bytes[]")},
    "google.BytesValue": {"value": (1, "bytes")},
}


def _make(messages: dict[str, dict[str, tuple[int, str]]]) -> dict[str, Any]:
    """The message classes by their names; in a pool of their own, apart from any official stubs."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="crayfish.proto", package="crayfish", syntax="proto3")
    local = {name: name.replace(".", "_") for name in messages}

    def add_field(message, name: str, number: int, kind: str, repeated: bool) -> None:
        field = message.field.add(name=name, number=number)
        field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        if kind in local:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".crayfish.{local[kind]}"
        else:
            field.type = getattr(kinds, f"TYPE_{kind.upper()}")

    for full_name, fields in messages.items():
        message = file.message_type.add(name=local[full_name])
        for name, (number, kind) in fields.items():
            plain = kind.removesuffix("[]").removesuffix("{}")
            if not kind.endswith("{}"):
                add_field(message, name, number, plain, kind.endswith("[]"))
                continue
            entry_name = f"{name.title()}Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            add_field(entry, "key", 1, "string", False)
            add_field(entry, "value", 2, plain, False)
            field = message.field.add(name=name, number=number, label=kinds.LABEL_REPEATED, type=kinds.TYPE_MESSAGE)
            field.type_name = f".crayfish.{local[full_name]}.{entry_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"crayfish.{local[name]}")) for name in messages}


TYPES = _make(MESSAGES)
