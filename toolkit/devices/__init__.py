"""Which device, class and profile; measuring one."""
