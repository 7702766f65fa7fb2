package abi

// Buckets is the number of buckets of a rollout: one is a basis point.
const Buckets = 10_000

// OS packs the version of a system as the records carry it.
func OS(major, minor, patch uint8) uint32 {
	return uint32(major)<<16 | uint32(minor)<<8 | uint32(patch)
}
