"""A trained model as an archive for TorchServe: its TorchScript file, the handler, and the shape of an input."""

import argparse
import json
import tempfile
from pathlib import Path

from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

from crayfish.spec import discovery

HANDLER = Path(__file__).resolve().parent / "crayfish" / "servers" / "_torchserve_handler.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--torchscript", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a .mar file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps({"input_shape": discovery.model(arguments.model).input_shape}))
        ModelArchiver.generate_model_archive(
            ModelArchiverConfig(
                model_name=arguments.out.stem,
                version="1.0",
                serialized_file=str(arguments.torchscript),
                handler=str(HANDLER),
                config_file=str(config),
                export_path=str(arguments.out.parent),
                force=True,
                archive_format="default",
            )
        )


if __name__ == "__main__":
    main()
