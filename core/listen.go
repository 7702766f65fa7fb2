package core

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

func (h *Host) listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, listenError(address, err))
	}
	h.closing(func() { _ = l.Close() }) // a listener that was served is closed already
	return patient{l, h.config.Log}, nil
}

// listenError says what is in the way of an address.
func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program: stop it, or choose another port", address)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s may not be opened by this user: choose a port from 1024 on, or give the program the right", address)
	}
	return fmt.Errorf("%s can't be opened: %w", address, err)
}

// patient is a listener that outlives a shortage: while the process has no file
// or the machine no memory for one more connection, it waits and tries again. A
// server that took such an error for the end would be ended by anybody who opens
// enough connections.
type patient struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l patient) Accept() (net.Conn, error) {
	const most = time.Second
	pause := 5 * time.Millisecond
	for told := false; ; told = true {
		conn, err := l.Listener.Accept()
		if err == nil || !shortage(err) {
			return conn, err
		}
		if !told {
			l.log.Error("no further connection can be taken at the moment: lower limits.connections, or raise the limit of open files", "listener", l.Addr().String(), "error", err)
		}
		time.Sleep(pause)
		pause = min(2*pause, most)
	}
}

func shortage(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// PublicURL is how devices reach the server.
func (h *Host) PublicURL() string {
	if u := h.config.Server.PublicURL; u != "" {
		return u
	}
	scheme := "http"
	if h.cert != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(h.public)
}

// AdminURL is how the operator reaches the admin API.
func (h *Host) AdminURL() string { return "http://" + reachable(h.admins) }

// reachable is an address that a listener can be reached at from this machine.
func reachable(l net.Listener) string {
	a := l.Addr().String()
	if host, port, err := net.SplitHostPort(a); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			return net.JoinHostPort("127.0.0.1", port)
		}
	}
	return a
}

// certificate reads the files of [tls]; nil = plain HTTP.
func (c *Config) certificate() (*tls.Certificate, error) {
	if c.TLS.Cert == "" {
		return nil, nil
	}
	for _, f := range [...]struct{ key, file string }{{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}} {
		if _, err := os.Stat(c.path(f.file)); err != nil {
			return nil, fmt.Errorf("%s: %s can't be read: name a PEM file (%w)", f.key, f.file, err)
		}
	}
	cert, err := tls.LoadX509KeyPair(c.path(c.TLS.Cert), c.path(c.TLS.Key))
	if err != nil {
		return nil, fmt.Errorf("tls.cert: %s and %s don't make a certificate with its key: %s", c.TLS.Cert, c.TLS.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &cert, nil
}
