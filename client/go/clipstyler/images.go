package clipstyler

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
)

// Image is an image of a job, or of a style: its encoded bytes, complete and checked against their digest.
type Image struct {
	Data     []byte
	Metadata *pb.ImageMetadata
}

// imagePart is a message with a part of an image: first its metadata, then its bytes, in order.
type imagePart interface {
	GetMetadata() *pb.ImageMetadata
	GetData() []byte
}

// imageParts joins the parts of images that follow each other.
type imageParts struct {
	begun *Image
}

// add adds the next part; it returns an image once it is complete.
func (p *imageParts) add(part imagePart) (*Image, *Error) {
	if metadata := part.GetMetadata(); metadata != nil {
		p.begun = &Image{Metadata: metadata}
		return nil, nil
	}
	if p.begun == nil {
		return nil, broken("bytes arrived before the metadata of their image")
	}
	p.begun.Data = append(p.begun.Data, part.GetData()...)
	if int64(len(p.begun.Data)) < p.begun.Metadata.GetSizeBytes() {
		return nil, nil
	}
	image := p.begun
	p.begun = nil
	return image, checkImage(image.Data, image.Metadata)
}

// end reports an image that is not complete when no more parts come.
func (p *imageParts) end() *Error {
	if p.begun != nil {
		return broken("the response ended within an image")
	}
	return nil
}

// receiveImage receives the image of a call whose response is one.
func receiveImage[R any, P interface {
	*R
	imagePart
}](call grpc.ServerStreamingClient[R], err error) (*Image, error) {
	if err != nil {
		return nil, err
	}
	var parts imageParts
	var image *Image
	for {
		part, err := call.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		done, failed := parts.add(P(part))
		if failed != nil {
			return nil, failed
		}
		if done != nil {
			image = done
		}
	}
	if image == nil {
		return nil, broken("the response ended within its image")
	}
	if failed := parts.end(); failed != nil {
		return nil, failed
	}
	return image, nil
}

// checkImage reports an image that is not the one that its metadata announces.
func checkImage(data []byte, announced *pb.ImageMetadata) *Error {
	digest := sha256.Sum256(data)
	if int64(len(data)) != announced.GetSizeBytes() || !bytes.Equal(digest[:], announced.GetSha256()) {
		return broken("%d bytes arrived that do not match the announced %d", len(data), announced.GetSizeBytes())
	}
	return nil
}
