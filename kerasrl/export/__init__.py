"""Export: policies as files that act without kerasrl."""

from kerasrl.export.export import export_policy
from kerasrl.export.exported import ExportedPolicy, load_policy
from kerasrl.export.manifest import EXPORT_FORMATS, read_info

__all__ = ["EXPORT_FORMATS", "ExportedPolicy", "export_policy", "load_policy", "read_info"]
