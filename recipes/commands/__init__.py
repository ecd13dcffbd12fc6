"""One file per command of `optical`: `add_parser` names its options, its function does the work."""
