"""The profiles that come with us, by what their devices speak."""

from drivers.profile import Profile, load_profile, profile_names

MODBUS = [name for name in profile_names() if isinstance(load_profile(name), Profile)]
TEXT = [name for name in profile_names() if name not in MODBUS]
