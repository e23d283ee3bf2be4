// Package clipstyler is the client of the clipstyler service, which stylizes photos by text.
//
// Requests, events and jobs are the messages of the contract, package clipstylerv1. This package adds the connection,
// retries, streams that resume, complete results, and errors with all that the server reports.
package clipstyler

//go:generate sh -c "cd .. && buf generate"
