"""Everything that knows DexCare: its reports, how they are asked for, watched and landed."""
