"""Feast's registry as a file under the settings' home, replaced in one step so that no reader sees half of it."""

import os
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from firstmile.settings import load_settings


class HomeRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """A relative path counts from the settings' home, not from this folder."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        path = Path(registry_config.path)
        self._filepath = path if path.is_absolute() else load_settings().home / path

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        final = self._filepath
        final.parent.mkdir(parents=True, exist_ok=True)
        self._filepath = final.with_suffix(f".{os.getpid()}.new")
        try:
            super()._write_registry(registry_proto)
            os.replace(self._filepath, final)
        finally:
            self._filepath = final
