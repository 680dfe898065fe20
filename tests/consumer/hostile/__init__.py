"""Messages of whoever means harm, and an app that is to be spared."""
