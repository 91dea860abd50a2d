"""A stand-in for a host with multipathd, for demonstrations and tests: a client of its socket cannot tell the difference.

It speaks the daemon's wire protocol, answers in the exact layout of multipath-tools 0.9.4, and follows that version's semantics for
`multipath.conf`, `conf.d`, `wwids` and `bindings`, all under one directory. What the host sees is a TOML file of LUNs and paths:

    [[lun]]
    wwid = "360014050000000100004000800000000"
    vendor = "LAB"                  # product, rev: text; serial: text, empty if left out
    product = "SANDISK1"
    rev = "4.0"
    size_bytes = 67108864           # a positive multiple of 512
    hwhandler = "1 alua"            # "0" if left out
    open = true                     # something holds the map open, so it cannot be removed; false if left out

    [[lun.path]]
    dev = "sda"                     # dev_t and lun_hex are derived if left out
    hcil = "0:0:1:1"                # if left out: path number, 0, 0, LUN number
    host_wwpn = "0x10000090fa000001"   # also host_wwnn, target_wwnn, target_wwpn, host_adapter; "[undef]" if left out
    protocol = "scsi:fcp"           # derived from the names if left out
    state = "ready"                 # ready ghost faulty failed offline shaky pending timeout delayed disconnected
    prio = 50                       # if left out: 1, and for ALUA 50 when ready and 1 when ghost
    marginal = false

The file is looked at again at each command and read when it changed (its time, size or identity), so rewriting it plays path faults,
removals, rescans and size changes; a file that cannot be read then changes nothing but the log. Paths that come and go are hot-plug
events: they need no `reconfigure`. Faults made by command are sticky, whatever the file says: `fail path` until `reinstate path`,
`del path` until `add path`, both through `reconfigure`. Two LUNs with one WWID are merged without a word, as the real daemon does.

Left out on purpose: the built-in device table (`devices` holds what the files say), NVMe, udev properties, files elsewhere than under the
directory (`wwids_file` and `bindings_file` are shown and not followed), and the reload loop into which the real daemon falls on an alias
with characters that device-mapper mangles.
"""
