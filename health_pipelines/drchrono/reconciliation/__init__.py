"""What DrChrono deletes without a word: all ids of a record type, compared with those in the lake."""
