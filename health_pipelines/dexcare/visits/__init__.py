"""DexCare's visit reports: started, watched until they are ready, landed."""
