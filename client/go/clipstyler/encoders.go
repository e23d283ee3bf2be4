package clipstyler

import (
	"context"

	pb "clipstyler.dev/client/go/clipstylerv1"
)

// Encoders are the encoders themselves. Requests without an encoder set use the server's first.
type Encoders struct {
	stub pb.EncoderServiceClient
	life context.Context // ends when the client is closed
}

// EncodeText embeds texts, each as one sentence.
func (e *Encoders) EncodeText(ctx context.Context, request *pb.EncodeTextRequest) (*pb.EncodeTextResponse, error) {
	return unary(ctx, e.life, e.stub.EncodeText, request)
}

// EncodeImage embeds images.
func (e *Encoders) EncodeImage(ctx context.Context, request *pb.EncodeImageRequest) (*pb.EncodeImageResponse, error) {
	return unary(ctx, e.life, e.stub.EncodeImage, request)
}

// TextDirection returns the direction from a source text to a style text.
func (e *Encoders) TextDirection(
	ctx context.Context, request *pb.GetTextDirectionRequest,
) (*pb.GetTextDirectionResponse, error) {
	return unary(ctx, e.life, e.stub.GetTextDirection, request)
}

// Classify ranks labels by how well they describe an image, the most probable first.
func (e *Encoders) Classify(ctx context.Context, request *pb.ClassifyImageRequest) (*pb.ClassifyImageResponse, error) {
	return unary(ctx, e.life, e.stub.ClassifyImage, request)
}

// Evaluate measures a stylized image against its photo and its text.
func (e *Encoders) Evaluate(
	ctx context.Context, request *pb.EvaluateStylizationRequest,
) (*pb.EvaluateStylizationResponse, error) {
	return unary(ctx, e.life, e.stub.EvaluateStylization, request)
}
