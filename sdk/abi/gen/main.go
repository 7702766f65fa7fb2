// Gen writes what follows from the contract in package abi: the codec of the
// host, the bindings of all guest languages and the pages that describe it. A language is one
// function from the Schema to files; see golang.go.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// backends are the languages that are generated.
var backends = []func(*Schema) (map[string][]byte, error){
	golang,
	c, rust, assemblyscript, javascript,
	markdown, wit,
}

func main() {
	root := flag.String("root", "../..", "the repository's root")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for name, content := range files {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the generated files by their path below root.
func generate(root string) (map[string][]byte, error) {
	s, err := parse(filepath.Join(root, "sdk", "abi"))
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, backend := range backends {
		files, err := backend(s)
		if err != nil {
			return nil, err
		}
		for name, content := range files {
			all[name] = content
		}
	}
	return all, nil
}
