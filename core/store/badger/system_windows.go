package badger

import (
	"io/fs"
	"syscall"
	"unsafe"
)

// On Windows Badger's sync of a mapped file does nothing. An acknowledged write
// survives the death of the process there, but not a power cut.
const syncSurvivesPowerCut = false

var getDiskFreeSpaceEx = syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")

// diskFree is what is left for the user who asks.
func diskFree(dir string) (int64, error) {
	path, err := syscall.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var left int64
	ok, _, err := getDiskFreeSpaceEx.Call(uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&left)), 0, 0)
	if ok == 0 {
		return 0, err
	}
	return left, nil
}

// lostSector are the errors of a disk that does not give back what was written:
// ERROR_CRC, ERROR_SECTOR_NOT_FOUND and ERROR_IO_DEVICE.
var lostSector = [...]error{syscall.Errno(23), syscall.Errno(27), syscall.Errno(1117)}

// locks says that lockDirectory does.
const locks = false

// lockDirectory leaves the lock to Badger.
func lockDirectory(string) (unlock func() error, err error) {
	return func() error { return nil }, nil
}

// syncDirectory does nothing: Windows has no such thing.
func syncDirectory(string) error { return nil }

// allocated is the length of a file: what it takes is not to be had here.
func allocated(info fs.FileInfo) int64 { return info.Size() }
