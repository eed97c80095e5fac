"""The sandbox's own tests: a stand-in kinder than the vendor would make all other tests worthless."""
