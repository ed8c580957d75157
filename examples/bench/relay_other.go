//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/go-grasp/grasp/examples/internal/cli"
)

var errNoRelay = errors.New("relays are measured on Linux")

func relay(context.Context, *cli.Program, job) (*result, error)   { return nil, errNoRelay }
func relayed(context.Context, *cli.Program, job) (*result, error) { return nil, errNoRelay }
