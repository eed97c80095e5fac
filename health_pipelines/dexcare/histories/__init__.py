"""DexCare's provider histories: searched page by page, proven whole, landed."""
