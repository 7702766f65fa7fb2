//go:build linux || darwin || freebsd

package badger

import (
	"io/fs"
	"syscall"
)

// syncSurvivesPowerCut says whether Badger's sync of a mapped file reaches the
// disk on this system.
const syncSurvivesPowerCut = true

// diskFree is what is left for an ordinary user.
func diskFree(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// allocated is what a file takes on the disk: a log is as long as it may become,
// and has holes.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return info.Size()
}
