// Package guide holds the two ASAs of docs/writing-an-asa.md: one keeps the
// settings of many nodes current, the other hands out bandwidth.
package guide

import (
	"context"
	"time"

	"github.com/go-grasp/grasp"
)

// Settings are what every node of the network shall know.
type Settings struct {
	Version int               `cbor:"1,keyasint"`
	DNS     []string          `cbor:"2,keyasint,omitempty"`
	Options map[string]string `cbor:"3,keyasint,omitempty"`
}

var settings = grasp.Typed[Settings]{Objective: grasp.Objective{Name: "example.com:settings", Synch: true}}

// Distribute gives the settings to all nodes: those that come in by the channel,
// as they come, until the context ends.
func Distribute(ctx context.Context, asa *grasp.ASA, news <-chan Settings) error {
	if err := asa.RegisterObj(settings.Objective, grasp.RegisterOptions{}); err != nil {
		return err
	}
	for {
		select {
		case s := <-news:
			o := settings.With(s)
			if err := asa.ListenSynchronize(o); err != nil { // for nodes that come later
				return err
			}
			if err := asa.Flood(24*time.Hour, grasp.TaggedObjective{Objective: o}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Follow calls apply with the settings of now, and again whenever they change,
// until the context ends.
func Follow(ctx context.Context, asa *grasp.ASA, apply func(Settings)) error {
	version := 0
	newer := func(s Settings) {
		if s.Version > version {
			version = s.Version
			apply(s)
		}
	}
	if s, err := settings.Synchronize(ctx, asa, nil, 0); err == nil { // floods of before are not heard
		newer(s)
	}
	for e := range settings.WatchFloods(ctx, asa) {
		if e.Err != nil {
			return e.Err
		}
		if e.Change != grasp.Gone && e.Flood.Err == nil {
			newer(e.Flood.Value)
		}
	}
	return nil
}
