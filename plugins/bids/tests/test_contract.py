from brainlens.testing import PluginContract

STUDY = {"subject": "01", "task": "objects", "raw": "absent/no-such-folder", "derivatives": "absent/fmriprep"}
FILES = {"betas": "absent/betas.nii", "events": "absent/events.tsv", "subject": "01", "space": "T1w"}


class TestContract(PluginContract):
    plugin = "bids"
    params = {
        "bids.bold": STUDY,
        "bids.betas": STUDY,
        "bids.images": {**FILES, "units": "z"},
        "bids.glmsingle": FILES,
    }
