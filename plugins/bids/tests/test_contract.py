from brainlens.testing import PluginContract

NAMES = {"subject": "01", "task": "objects", "raw": "absent/no-such-folder", "derivatives": "absent/fmriprep"}


class TestContract(PluginContract):
    plugin = "bids"
    params = {"bids.bold": NAMES}
