package bench

import "syscall"

// inMemory says whether a directory is on a file system that has no disk. What is
// written there is never durable, and a sync costs nothing.
func inMemory(dir string) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false
	}
	kind := uint32(s.Type)
	return kind == tmpfs || kind == ramfs
}
