"""Every parser of what vendors send, given what they did not mean to send: `make fuzz`."""
