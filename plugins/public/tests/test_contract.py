from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "public"
