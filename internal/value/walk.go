package value

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/wire"
)

// walk checks a Go value before it is encoded, because the encoder itself would
// follow a value that contains itself for ever.
type walk struct {
	encoded reflect.Type
	room    int // bytes that are left
}

// How deep a value may be nested.
const (
	maxNesting  = wire.DefaultDepth // arrays and maps: those of a message
	maxIndirect = 1000              // pointers and interfaces from one of these to the next
)

var (
	errNested = fmt.Errorf("the value is nested deeper than %d, or holds itself", maxNesting)
	errLoop   = errors.New("the value points to itself")

	marshaler       = reflect.TypeFor[cbor.Marshaler]()
	binaryMarshaler = reflect.TypeFor[encoding.BinaryMarshaler]()
)

// value checks a value at the given nesting, reached by the given number of pointers
// and interfaces.
func (w *walk) value(v reflect.Value, nesting, indirect int) error {
	if !v.IsValid() {
		return w.take(1)
	}
	switch kind := v.Kind(); kind {
	case reflect.Pointer, reflect.Interface:
		if indirect >= maxIndirect {
			return errLoop
		}
		if v.IsNil() || encodesItself(v.Type()) {
			return w.take(1)
		}
		return w.value(v.Elem(), nesting, indirect+1)
	case reflect.String:
		return w.take(v.Len())
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if v.Type() == w.encoded {
			if err := wire.WellFormed(v.Bytes(), wire.Limits{Bytes: math.MaxInt32, Elements: math.MaxInt32}); err != nil {
				return fmt.Errorf("EncodedCBOR: %w", err)
			}
			return w.take(v.Len())
		}
		if encodesItself(v.Type()) {
			return w.take(1)
		}
		if nesting >= maxNesting {
			return errNested
		}
		if err := w.take(1); err != nil {
			return err
		}
		return w.inside(v, kind, nesting+1)
	default:
		return w.take(1)
	}
}

// inside checks what an array, map or struct contains.
func (w *walk) inside(v reflect.Value, kind reflect.Kind, nesting int) error {
	switch kind {
	case reflect.Map:
		for all := v.MapRange(); all.Next(); {
			if err := errors.Join(w.value(all.Key(), nesting, 0), w.value(all.Value(), nesting, 0)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); !isEncoded(f) {
				continue
			}
			if err := w.value(v.Field(i), nesting, 0); err != nil {
				return err
			}
		}
	default:
		if v.Type().Elem().Kind() < reflect.Array { // numbers and bools
			return w.take(v.Len())
		}
		for i := range v.Len() {
			if err := w.value(v.Index(i), nesting, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// take counts bytes that the encoding needs at least.
func (w *walk) take(n int) error {
	if w.room -= max(n, 1); w.room < 0 {
		return ErrTooLong
	}
	return nil
}

// encodesItself reports whether a type has a method that encodes it.
func encodesItself(t reflect.Type) bool {
	return t.Kind() != reflect.Interface &&
		(t.Implements(marshaler) || t.Implements(binaryMarshaler) ||
			reflect.PointerTo(t).Implements(marshaler) || reflect.PointerTo(t).Implements(binaryMarshaler))
}

// isEncoded reports whether the encoder looks at a field.
func isEncoded(f reflect.StructField) bool {
	tag := f.Tag.Get("cbor")
	if tag == "" {
		tag = f.Tag.Get("json")
	}
	return tag != "-" && (f.IsExported() || f.Anonymous)
}
