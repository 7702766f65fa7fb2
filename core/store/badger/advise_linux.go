package badger

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// adviseLogs tells the kernel that nothing is to be read ahead in the write-ahead logs
// of a directory, which Badger maps and appends to. Without that the kernel takes the
// appending for sequential reading, and gives the file pages that grow with it, up to
// as much as is read ahead: 128 KiB mostly, and megabytes where somebody has tuned it.
// A page is dirty as a whole, so each sync of some hundred bytes writes all of it.
//
// Badger has no option for it and keeps its mappings to itself, so they are looked up
// where the kernel lists them. If one goes meanwhile, the advice is for whatever came
// to its place, and changes nothing there but what is read ahead.
func adviseLogs(dir string) error {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// address range, rights, offset, device, inode, name (proc_pid_maps(5))
		line := lines.Text()
		if !strings.HasSuffix(line, ".mem") {
			continue
		}
		at := strings.IndexByte(line, '/')
		if at < 0 || filepath.Dir(line[at:]) != dir {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x ", &from, &to); err != nil {
			return fmt.Errorf("read /proc/self/maps: %w", err)
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_RANDOM); errno != 0 && errno != syscall.ENOMEM { // it is gone
			return fmt.Errorf("advise on %s: %w", line[at:], errno)
		}
	}
	return lines.Err()
}
