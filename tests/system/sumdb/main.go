// SPDX-License-Identifier: Apache-2.0

// Reads our ledger and our proofs with Go's own packages for transparency logs.
//
//	sumdb log FOLDER VKEY: the checkpoint, every tile and every entry of a ledger
//	sumdb proof FILE LEAF VKEY: one tlog-proof and the leaf that it proves
//	sumdb grown OLD NEW FOLDER VKEY: the checkpoint in file OLD is of the beginning of the one in NEW
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sumdb:", err)
		os.Exit(1)
	}
}

func checkpoint(text []byte, vkey string) tlog.Tree {
	verifier, err := note.NewVerifier(vkey)
	fail(err)
	n, err := note.Open(text, note.VerifierList(verifier))
	fail(err)
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		fail(fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), n.Text))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	fail(err)
	root, err := tlog.ParseHash(lines[2])
	fail(err)
	return tlog.Tree{N: size, Hash: root}
}

// Tiles as tlog-tiles names them: Go's own names have the height in them.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		path := "tile/" + strings.TrimPrefix(t.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func entries(f folder, n int64, size int64) [][]byte {
	t := tlog.Tile{H: 8, L: -1, N: n, W: 256}
	if width := size - n*256; width < 256 {
		t.W = int(width)
	}
	path := "tile/entries/" + strings.TrimPrefix(t.Path(), "tile/8/data/")
	data, err := os.ReadFile(filepath.Join(string(f), path))
	fail(err)
	var all [][]byte
	for len(data) > 0 {
		length := int(data[0])<<8 | int(data[1])
		all = append(all, data[2:2+length])
		data = data[2+length:]
	}
	if len(all) != t.W {
		fail(fmt.Errorf("%s holds %d entries, not %d", path, len(all), t.W))
	}
	return all
}

func readLog(dir, vkey string) {
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	fail(err)
	tree := checkpoint(text, vkey)
	reader := tlog.TileHashReader(tree, folder(dir))
	for n := int64(0); n*256 < tree.N; n++ {
		for i, entry := range entries(folder(dir), n, tree.N) {
			index := n*256 + int64(i)
			hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			fail(err)
			if hashes[0] != tlog.RecordHash(entry) {
				fail(fmt.Errorf("entry %d does not have the hash in its tile", index))
			}
			proof, err := tlog.ProveRecord(tree.N, index, reader)
			fail(err)
			fail(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
		}
	}
	fmt.Println(tree.N)
}

func readProof(file, leaf, vkey string) {
	text, err := os.ReadFile(file)
	fail(err)
	head, rest, found := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		fail(fmt.Errorf("%s is no tlog-proof", file))
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	fail(err)
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		data, err := base64.StdEncoding.DecodeString(line)
		fail(err)
		var h tlog.Hash
		copy(h[:], data)
		proof = append(proof, h)
	}
	tree := checkpoint(rest, vkey)
	entry, err := os.ReadFile(leaf)
	fail(err)
	fail(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
	fmt.Println(index)
}

func grown(old, new, dir, vkey string) {
	before, err := os.ReadFile(old)
	fail(err)
	after, err := os.ReadFile(new)
	fail(err)
	a, b := checkpoint(before, vkey), checkpoint(after, vkey)
	proof, err := tlog.ProveTree(b.N, a.N, tlog.TileHashReader(b, folder(dir)))
	fail(err)
	fail(tlog.CheckTree(proof, b.N, b.Hash, a.N, a.Hash))
	fmt.Println(a.N, b.N)
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "log":
		readLog(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "proof":
		readProof(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 6 && os.Args[1] == "grown":
		grown(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	default:
		fail(fmt.Errorf("usage: sumdb log|proof|grown ..."))
	}
}
