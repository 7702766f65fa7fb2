package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// bytesWritten is what a process has caused to be sent to disks, 0 where the system
// doesn't say. Pages of mapped files are among them.
func bytesWritten(process int) int64 {
	return counted(fmt.Sprintf("/proc/%d/io", process), "write_bytes:")
}

// anonymousMemory is what this process has in memory beside the pages of files,
// which the system takes back when it needs them; 0 where it doesn't say.
func anonymousMemory() int64 { return counted("/proc/self/status", "RssAnon:") << 10 }

// counted reads the number behind a name of one of Linux' files.
func counted(file, name string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
