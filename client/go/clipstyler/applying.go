package clipstyler

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	pb "clipstyler.dev/client/go/clipstylerv1"
)

// applying applies a style to photos. Until the first answer it keeps those that were sent, so that the call can begin
// again.
type applying struct {
	stub        pb.StyleServiceClient
	application *pb.StyleApplication
	photos      <-chan takenPhoto
	kept        []takenPhoto
	isAnswered  atomic.Bool
	unread      error // why the source ended early
}

// play makes attempts until one is answered. It returns nil, too, when the caller leaves.
func (a *applying) play(ctx context.Context, yield func(StyledPhoto, error) bool) error {
	var attempts attempts
	for {
		err := a.attempt(ctx, yield)
		if err == nil {
			return a.unread
		}
		if !a.isAnswered.Load() {
			err = attempts.pauseAfter(ctx, err)
		}
		if err != nil {
			return err
		}
	}
}

// attempt makes the call. It returns nil, too, when the caller leaves.
func (a *applying) attempt(ctx context.Context, yield func(StyledPhoto, error) bool) *Error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := a.stub.ApplyStyle(ctx)
	if err != nil {
		return asError(err)
	}
	var unread error
	var unsent *Error
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if unread, unsent = a.send(ctx, call); unsent != nil {
			cancel()
		}
	}()
	isLeft, failed := a.receive(call, yield)
	cancel()
	<-sent
	if isLeft {
		return nil
	}
	a.unread = unread
	return cmp.Or(unsent, failed)
}

// send sends what is to be done, and the photos. It returns why their source ended early: those before are still drawn.
// Or it returns why a message cannot be sent: receiving has the errors of the call.
func (a *applying) send(ctx context.Context, call pb.StyleService_ApplyStyleClient) (unread error, unsent *Error) {
	err := call.Send(&pb.ApplyStyleRequest{Part: &pb.ApplyStyleRequest_Application{Application: a.application}})
	for index := 0; err == nil; index++ {
		taken, ok := a.photo(ctx, index)
		if !ok || taken.err != nil {
			call.CloseSend()
			return taken.err, nil
		}
		err = call.Send(&pb.ApplyStyleRequest{Part: &pb.ApplyStyleRequest_Photo{Photo: taken.photo}})
	}
	if errors.Is(err, io.EOF) { // the call has ended
		return nil, nil
	}
	return nil, asError(err)
}

// photo returns a photo by its number, and false at the end of the photos or of ctx.
func (a *applying) photo(ctx context.Context, index int) (taken takenPhoto, ok bool) {
	if index < len(a.kept) {
		return a.kept[index], true
	}
	select {
	case taken, ok = <-a.photos:
	case <-ctx.Done():
		return taken, false
	}
	if a.isAnswered.Load() {
		a.kept = nil
	} else if ok {
		a.kept = append(a.kept, taken)
	}
	return taken, ok
}

// receive gives what arrives, to the end or until the caller leaves.
func (a *applying) receive(call pb.StyleService_ApplyStyleClient, yield func(StyledPhoto, error) bool) (isLeft bool, err *Error) {
	var parts imageParts
	for {
		part, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return false, parts.end()
		}
		if err != nil {
			return false, asError(err)
		}
		a.isAnswered.Store(true)
		styled := StyledPhoto{Index: int(part.GetPhotoIndex())}
		if problem := part.GetError(); problem != nil {
			styled.Err = ErrorOf(problem)
		} else if image, failed := parts.add(part); failed != nil {
			return false, failed
		} else if styled.Image = image; image == nil {
			continue
		}
		if !yield(styled, nil) {
			return true, nil
		}
	}
}

// takenPhoto is a photo from a source, or the error that ends it.
type takenPhoto struct {
	photo *pb.StylePhoto
	err   error
}

// take takes photos from their source, each when the one before it was received, to its first error or the end of ctx.
func take(ctx context.Context, photos iter.Seq2[*pb.StylePhoto, error]) <-chan takenPhoto {
	taken := make(chan takenPhoto)
	go func() {
		defer close(taken)
		for photo, err := range photos {
			select {
			case taken <- takenPhoto{photo, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return taken
}
