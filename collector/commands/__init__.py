"""What each command of `xray` does; imported when the command runs, so that help stays fast."""
