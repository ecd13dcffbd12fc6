"""Entry point of the Space; its settings are in settings.json beside this file."""

from pathlib import Path

from hub_cards.space.engine import SETTINGS_FILE, DemoEngine, DemoSettings
from hub_cards.space.page import launch

if __name__ == "__main__":
    launch(DemoEngine(DemoSettings.load(Path(__file__).parent / SETTINGS_FILE)))
