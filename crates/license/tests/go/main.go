// Verifies license files with nothing of ours: Go's golang.org/x/mod/sumdb/note.
//
//	go run . FILE KEY[,KEY...] [FILE KEYS]...
//
// Prints, for each file, how many of the keys verified it and the length of its text.
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

func main() {
	args := os.Args[1:]
	for i := 0; i+1 < len(args); i += 2 {
		file, err := os.ReadFile(args[i])
		if err != nil {
			fail(args[i], err)
		}
		var known []note.Verifier
		for _, key := range strings.Split(args[i+1], ",") {
			verifier, err := note.NewVerifier(key)
			if err != nil {
				fail(args[i], err)
			}
			known = append(known, verifier)
		}
		opened, err := note.Open(file, note.VerifierList(known...))
		if err != nil {
			fail(args[i], err)
		}
		fmt.Printf("%d %d\n", len(opened.Sigs), len(opened.Text))
	}
}

func fail(file string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
	os.Exit(1)
}
