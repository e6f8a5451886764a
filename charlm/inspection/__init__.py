"""What happens inside a trained model: gates, gradients, context, units. Data; nothing is shown."""
