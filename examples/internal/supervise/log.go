package supervise

import (
	"bytes"
	"errors"
	"os"
)

// maxLine is how long a reported line may be; longer ones are cut into several.
const maxLine = 4096

// lines is a Writer that reports what is written to it line by line.
type lines struct {
	report func(string)
	rest   []byte // the line that has not ended
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for len(l.rest) > 0 {
		end, skip := bytes.IndexByte(l.rest, '\n'), 1
		if end > maxLine || end < 0 && len(l.rest) > maxLine {
			end, skip = maxLine, 0
		}
		if end < 0 {
			break
		}
		l.report(string(bytes.TrimSuffix(l.rest[:end], []byte("\r"))))
		l.rest = append(l.rest[:0], l.rest[end+skip:]...)
	}
	return len(b), nil
}

// Close reports a line that has no end.
func (l *lines) Close() error {
	if len(l.rest) > 0 {
		l.report(string(l.rest))
	}
	return nil
}

// logFile is a file that is renamed to name.1, and begun anew, when it is full.
// A Write never fails, so that the program does not: failed is called for the
// first failure.
type logFile struct {
	name   string
	max    int64
	failed func(error)
	file   *os.File
	size   int64
	err    error
}

func openLogFile(name string, most int64, failed func(error)) (*logFile, error) {
	l := &logFile{name: name, max: most, failed: failed}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	i, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, i.Size()
	return nil
}

func (l *logFile) Write(b []byte) (int, error) {
	for rest := b; l.err == nil && len(rest) > 0; {
		n := l.fit(rest)
		if l.err = l.write(rest[:n]); l.err != nil {
			l.failed(l.err)
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// fit returns how much may be written at once: whole lines that fill no more than one
// file, or a part of a line that is longer.
func (l *logFile) fit(b []byte) int {
	if int64(len(b)) <= l.max {
		return len(b)
	}
	if end := bytes.LastIndexByte(b[:l.max], '\n'); end >= 0 {
		return end + 1
	}
	return int(l.max)
}

func (l *logFile) write(b []byte) error {
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := errors.Join(l.file.Close(), os.Rename(l.name, l.name+".1"), l.open()); err != nil {
			return err
		}
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return err
}

// Close closes the file.
func (l *logFile) Close() error { return l.file.Close() }
