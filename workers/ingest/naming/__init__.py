"""The names of tensors: as diffusers has them, as the published single files have them, and older ones."""
