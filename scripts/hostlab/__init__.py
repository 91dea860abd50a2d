"""A lab with the real host: kernel, multipathd, LVM and iSCSI in User-Mode Linux guests, and our agent in them."""
