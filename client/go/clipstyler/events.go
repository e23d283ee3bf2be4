package clipstyler

import (
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc/codes"
)

// eventReader reads the events of one stylization in order; it keeps the chunks of a large result until it is complete.
type eventReader struct {
	chunks []byte
}

// read returns what the caller gets to see: nil for a chunk, and for kinds that a newer server may send.
func (r *eventReader) read(event *pb.StylizationEvent) (*pb.StylizationEvent, *Error) {
	switch body := event.GetEvent().(type) {
	case nil:
		return nil, nil
	case *pb.StylizationEvent_Chunk_:
		return nil, r.add(body.Chunk)
	case *pb.StylizationEvent_Failed_:
		return nil, ErrorOf(body.Failed.GetError())
	case *pb.StylizationEvent_Cancelled_:
		return nil, cancelled(body.Cancelled)
	case *pb.StylizationEvent_Result_:
		return event, r.complete(body.Result)
	default:
		return event, nil
	}
}

func (r *eventReader) add(chunk *pb.StylizationEvent_Chunk) *Error {
	if chunk.GetOffset() != int64(len(r.chunks)) {
		return broken("a chunk at byte %d arrived instead of one at byte %d", chunk.GetOffset(), len(r.chunks))
	}
	r.chunks = append(r.chunks, chunk.GetData()...)
	return nil
}

func (r *eventReader) complete(result *pb.StylizationEvent_Result) *Error {
	if len(result.GetImageData()) == 0 {
		result.ImageData = r.chunks
	}
	return checkImage(result.GetImageData(), result.GetResult().GetImage())
}

func cancelled(event *pb.StylizationEvent_Cancelled) *Error {
	if event.GetReason() == pb.Stylization_CANCEL_REASON_DRAINING {
		return &Error{Code: codes.Unavailable, Reason: reasonDraining, Message: "the server shut down meanwhile: retry"}
	}
	return &Error{Code: codes.Canceled, Reason: "CANCELLED", Message: "the stylization was cancelled"}
}
