package prefix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// File is a journal in a file, a line for each record after one with the version, that
// survives the end of the process and of the machine. A record counts once its line is
// complete.
type File struct {
	path string
	f    *os.File
	lock *os.File
	// lines counts the records in the file, full is how many are enough.
	lines, full int
}

// compact is how many more records than need be there may be in a file.
const compact = 10_000

// The first line of a file is the version of those that follow. Files of before there
// was one are read, and made those of this version.
const (
	versionLine = "pfxm "
	version     = 1
)

// OpenFile opens a journal, which it makes if there is none, and returns the
// records in it. It fails if another process has it open, or if a later version
// of the program wrote it.
func OpenFile(path string) (*File, []Record, error) {
	lock, err := lockFile(path + ".lock")
	if _, cannot := errors.AsType[*fs.PathError](err); cannot {
		return nil, nil, err // it cannot even be made
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s is in use: %w", path, err)
	}
	j := &File{path: path, lock: lock}
	records, err := j.open()
	if err != nil {
		return nil, nil, errors.Join(err, j.Close())
	}
	return j, records, nil
}

func (j *File) open() ([]Record, error) {
	text, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// What follows the last complete line nobody was ever told of.
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	records, known, err := parseFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", j.path, err)
	}
	if j.f, err = os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if !known {
		return records, j.Replace(records)
	}
	if err := j.f.Truncate(int64(len(text))); err != nil {
		return nil, err
	}
	if _, err := j.f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	j.lines, j.full = len(records), compact
	return records, syncDir(filepath.Dir(j.path))
}

// parseFile returns the records of a file, and whether they are of this version.
func parseFile(text string) (records []Record, known bool, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if v, ok := strings.CutPrefix(line, versionLine); ok && number == 1 {
			if v != strconv.Itoa(version) {
				return nil, false, fmt.Errorf("1: version %q of the file is not known: a later pfxm wrote it", v)
			}
			known = true
			continue
		}
		r, err := parseRecord(line)
		if err != nil {
			return nil, false, fmt.Errorf("%d: %w", number, err)
		}
		records = append(records, r)
	}
	return records, known, nil
}

// Append implements [Journal].
func (j *File) Append(records []Record) error {
	if err := write(j.f, "", records); err != nil {
		return err
	}
	j.lines += len(records)
	return nil
}

func write(f *os.File, head string, records []Record) error {
	var b bytes.Buffer
	b.WriteString(head)
	for _, r := range records {
		fmt.Fprintln(&b, r)
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		return err
	}
	return f.Sync()
}

// Full implements [Journal].
func (j *File) Full() bool { return j.lines >= j.full }

// Replace implements [Journal].
func (j *File) Replace(records []Record) error {
	// One that a failure left behind is overwritten: the lock is held.
	f, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails if all went well
	// It is closed, and so is the old one, because not every system renames
	// open files.
	if err := errors.Join(write(f, fmt.Sprintf("%s%d\n", versionLine, version), records), f.Close(), j.f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), j.path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return err
	}
	j.lines, j.full = len(records), 2*len(records)+compact
	j.f, err = os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

// Close closes the file.
func (j *File) Close() error {
	var err error
	if j.f != nil {
		err = j.f.Close()
	}
	return errors.Join(err, j.lock.Close())
}

// useMark comes before the name of what a prefix is delegated to.
const useMark = "for"

// String returns the record as a line of a file.
func (r Record) String() string {
	switch {
	case r.Peer.IsValid():
		return fmt.Sprint(r.What, " ", r.Prefix, " ", r.Peer)
	case r.Use != "":
		return fmt.Sprint(r.What, " ", r.Prefix, " ", useMark, " ", r.Use)
	}
	return fmt.Sprint(r.What, " ", r.Prefix)
}

// parseRecord is the inverse of String.
func parseRecord(line string) (r Record, err error) {
	fields := strings.Split(line, " ")
	if len(fields) < 2 || len(fields) > 4 || len(fields) == 4 && fields[2] != useMark {
		return r, fmt.Errorf("not a record: %q", line)
	}
	r.What = Change(fields[0])
	if r.Prefix, err = netip.ParsePrefix(fields[1]); err != nil {
		return r, err
	}
	switch len(fields) {
	case 3:
		r.Peer, err = netip.ParseAddr(fields[2])
	case 4:
		r.Use = fields[3]
	}
	return r, err
}
