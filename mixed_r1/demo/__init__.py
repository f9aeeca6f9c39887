"""``mixed-r1 demo``: the whole system on the embedded data set, with a model made on the spot."""

from mixed_r1.demo.run import DemoSettings, demo_config, prepare_demo, run_demo

__all__ = ["DemoSettings", "demo_config", "prepare_demo", "run_demo"]
